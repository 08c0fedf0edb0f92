// Many requests, long answers, and answers that nobody reads.

const HOST = "https://api.many.example";

export default {
  name: "many",
  async run() {
    let short = 0;
    for (let sent = 0; sent < 500; sent++) short += (await (await fetch(`${HOST}/short`)).text()).length;
    const whole = (await (await fetch(`${HOST}/long`)).arrayBuffer()).byteLength;
    let streamed = 0;
    for await (const chunk of (await fetch(`${HOST}/long`)).body) streamed += chunk.length;
    const unread = { length: 0, chunked: 0, head: 0 };
    for (let sent = 0; sent < 100; sent++) {
      unread.length += (await fetch(`${HOST}/short`)).ok;
      unread.chunked += (await fetch(`${HOST}/chunked`)).ok;
      unread.head += (await fetch(`${HOST}/long`, { method: "HEAD" })).ok;
    }
    return { short, whole, streamed, unread };
  },
};
