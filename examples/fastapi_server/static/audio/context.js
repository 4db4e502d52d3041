/** The page's one audio context. Browsers let it sound only after a click or a key. */

const WORKLETS = ["capture-worklet.js", "player-worklet.js"];

/** @type {AudioContext | null} */
let context = null;
/** @type {Promise<unknown> | null} */
let loaded = null;

/**
 * Make it if need be, and let it sound. Call this while handling what the user did.
 *
 * @returns {Promise<AudioContext>}
 */
export async function audioContext() {
  context ??= new AudioContext({ latencyHint: "interactive" });
  const sounding = context.resume();
  loaded ??= Promise.all(
    WORKLETS.map((name) => context.audioWorklet.addModule(new URL(name, import.meta.url))),
  );
  try {
    await loaded;
  } catch (error) {
    loaded = null; // the network may be back the next time
    throw error;
  }
  await sounding;
  return context;
}
