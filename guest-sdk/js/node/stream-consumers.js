// node:stream/consumers.

export async function buffer(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
export const text = async (stream) => (await buffer(stream)).toString("utf8");
export const json = async (stream) => JSON.parse(await text(stream));
export const blob = async (stream) => new Blob([new Uint8Array(await buffer(stream))]);
export const arrayBuffer = async (stream) => new Uint8Array(await buffer(stream)).buffer;

export default { buffer, text, json, blob, arrayBuffer };
