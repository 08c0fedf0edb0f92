// A person's way through a browser: their own Chromium opens an address, logs in at the service, allows what is asked,
// and ends where it is sent. Prints the pages that it saw, as JSON.
//
// ADDRESS: where to begin. LOGIN: who they are at the service. HOSTS: Chromium's --host-resolver-rules, which lead the
// names to servers on loopback. CHROMIUM: the program.

import { chromium } from 'playwright-core';

const { ADDRESS, LOGIN, HOSTS, CHROMIUM } = process.env;
// More than any way has.
const PAGES = 8;

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    // Root has no sandbox, and loopback is all that there is.
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', `--host-resolver-rules=${HOSTS}`,
  ],
});
try {
  // The certificates are of the test's own authority.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const seen = [];
  const errors = [];
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });

  await page.goto(ADDRESS);
  for (;;) {
    seen.push({ url: page.url(), title: await page.title(), text: await page.innerText('body') });
    // The first is what a person would press; the others are ways out.
    const button = page.locator('button').first();
    if (seen.length > PAGES || !await button.count()) break;
    const login = page.locator('input[name=login]');
    if (await login.count()) {
      await login.fill(LOGIN);
      await page.locator('input[name=password]').fill('x');
    }
    await Promise.all([page.waitForNavigation(), button.click()]);
    // A page that leads on by itself.
    await page.waitForFunction(() => !document.title.startsWith('On to '));
    await page.waitForLoadState();
  }
  const cookies = await context.cookies();
  // What was answered once is not answered again.
  const again = await page.goto(page.url()).then((response) => response.status(), () => null);
  console.log(JSON.stringify({
    seen, errors, again, cookies: cookies.map(({ name, domain }) => `${domain} ${name}`),
  }));
} finally {
  await browser.close();
}
