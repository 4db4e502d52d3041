/** Server-sent events out of text that comes in pieces. */

export class EventReader {
  #text = "";

  /**
   * @param {string} text - the next piece
   * @returns {{type: string, data: any}[]} the events that are whole
   */
  read(text) {
    const blocks = (this.#text + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#text = blocks.pop();
    return blocks.map(parsed).filter((event) => event !== null);
  }
}

function parsed(block) {
  const lines = block.split("\n").map((line) => line.match(/^(event|data): ?(.*)$/));
  const all = (name) => lines.filter((line) => line?.[1] === name).map((line) => line[2]);
  const data = all("data").join("\n");
  if (data === "" || data === "[DONE]") return null;
  const value = JSON.parse(data);
  return { type: all("event")[0] ?? value.type ?? "message", data: value };
}
