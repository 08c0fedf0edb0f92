// What a browser got and keeps, and what of it should not be there.

// Answers without a body: redirects, and what says that there is none.
const EMPTY = (status) => status === 204 || (status >= 300 && status < 400);

// Keeps everything that the page is answered, read before the page itself gets it: what is read later is gone with a page
// that was left. A stream of events has no end, so it is not read.
export async function record(page, kept) {
  const session = await page.context().newCDPSession(page);
  session.on('Fetch.requestPaused', async ({ requestId, request, responseStatusCode: status, responseHeaders = [] }) => {
    const { url } = request;
    const headers = {};
    for (const { name, value } of responseHeaders) {
      const known = name.toLowerCase();
      headers[known] = known in headers ? `${headers[known]}\n${value}` : value;
    }
    const answer = { url, status, headers, body: '' };
    let unread;
    // Without a status nothing was answered.
    if (status && !EMPTY(status) && !headers['content-type']?.startsWith('text/event-stream')) {
      try {
        const { body, base64Encoded } = await session.send('Fetch.getResponseBody', { requestId });
        answer.body = base64Encoded ? Buffer.from(body, 'base64').toString() : body;
      } catch (error) {
        unread = `${status} ${url}: ${error.message}`;
      }
    }
    try {
      await session.send('Fetch.continueRequest', { requestId });
    } catch {
      // It was broken off, so the page did not get it either.
      unread = undefined;
    }
    if (status) kept.answers.push(answer);
    if (unread) kept.unread.push(unread);
  });
  await session.send('Fetch.enable', { patterns: [{ requestStage: 'Response' }] });
}

// All that scripts could keep in the browser.
export async function storage(page) {
  await page.waitForLoadState('domcontentloaded');
  const { origins } = await page.context().storageState({ indexedDB: true });
  // A page that did not come has no storage.
  const session = await page.evaluate(() => {
    try { return JSON.stringify({ ...sessionStorage }); } catch { return '{}'; }
  });
  return { origins, session };
}

// Where one of `texts`, or what `pattern` fits, is; and what could not be read.
export async function found(page, { answers, unread }, texts, pattern) {
  const wrong = unread.map((what) => `not read: ${what}`);
  const search = (text, where) => {
    const there = [...texts.filter((one) => text.includes(one)), ...(text.match(pattern) ?? [])];
    wrong.push(...there.map((one) => `${one} is in ${where}`));
  };
  for (const { url, status, headers, body } of answers) {
    search(`${url}\n${JSON.stringify(headers)}\n${body}`, `what ${url} answered with ${status}`);
  }
  search(JSON.stringify(await storage(page)), 'what the browser keeps for scripts');
  search(JSON.stringify(await page.context().cookies()), 'its cookies');
  return wrong;
}
