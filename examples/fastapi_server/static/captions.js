/** A transcript as the files that players and editors read. */

/** @typedef {{text: string, start: number, end: number}} Segment */

function time(value, point) {
  const milliseconds = Math.round(value * 1000);
  const pad = (n, length = 2) => String(n).padStart(length, "0");
  const whole = Math.floor(milliseconds / 1000);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${pad(h)}:${pad(m)}:${pad(s)}${point}${pad(milliseconds % 1000, 3)}`;
}

const cue = ({ start, end, text }, point) =>
  `${time(start, point)} --> ${time(end, point)}\n${text.trim().replaceAll("-->", "→")}\n`;

/** @type {Record<string, (transcript: {text: string, segments: Segment[]}) => string>} */
export const WRITERS = {
  txt: ({ text }) => `${text.trim()}\n`,
  srt: ({ segments }) => segments.map((each, n) => `${n + 1}\n${cue(each, ",")}`).join("\n"),
  vtt: ({ segments }) => `WEBVTT\n\n${segments.map((each) => cue(each, ".")).join("\n")}`,
  json: (transcript) => `${JSON.stringify(transcript, null, 2)}\n`,
};
