// One Chromium for many tests at once, each in contexts of its own. Every line on standard input is a call, as JSON:
// { id, do, page, ... }; every line on standard output its answer: { id, answer } or { id, error }. It ends with its input.
//
// CHROMIUM: the program. HOSTS: Chromium's --host-resolver-rules, if names lead to servers on loopback.
//
// All that a context was answered is kept, and searched as it is closed for what should not be there; so is what the
// browser had to complain about.

import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { audit, overflow, unreached } from './judge.mjs';
import { found, record, storage } from './record.mjs';

const { CHROMIUM, HOSTS } = process.env;
// What is not there after this long does not come.
const PATIENCE = 20_000;
// Of a screenshot: letters are sharp still.
const QUALITY = 50;

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    // Root has no sandbox, and loopback is all that there is.
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--hide-scrollbars',
    ...(HOSTS ? [`--host-resolver-rules=${HOSTS}`] : []),
  ],
});

const pages = new Map();
let made = 0;

async function enter(page, kept) {
  const name = `page ${++made}`;
  pages.set(name, { page, kept });
  page.on('pageerror', (error) => kept.complaints.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    // An answer of 4xx is what some tests ask for.
    if (message.type() === 'error' && !/^Failed to load resource/.test(text)) kept.complaints.push(`${page.url()}: ${text}`);
  });
  await record(page, kept);
  return { page: name };
}

// What a person would look for: its role and name, the label that it has, or what it says. Names are whole but for
// choices, whose names explain them, too.
function thing(page, { role, name, label, says, css }) {
  // Of others' pages, which need not be as ours.
  if (css !== undefined) return page.locator(css).first();
  if (label !== undefined) return page.getByLabel(label, { exact: true }).first();
  if (says !== undefined) return page.getByText(says, { exact: true }).filter({ visible: true }).first();
  const exact = role !== 'radio' && role !== 'checkbox';
  return page.getByRole(role, { name, exact }).first();
}

const calls = {
  async open({ options = {} }) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
    context.setDefaultTimeout(PATIENCE);
    const kept = { answers: [], complaints: [], unread: [] };
    return enter(await context.newPage(), kept);
  },
  // Says where `texts`, and what `pattern` fits, are in what the browser got and keeps, and what could not be read.
  async close({ at: { page, kept }, page: name, texts, pattern }) {
    const wrong = await found(page, kept, texts, new RegExp(pattern));
    await page.context().close();
    pages.delete(name);
    return wrong;
  },
  async goto({ at: { page }, url }) {
    const response = await page.goto(url);
    return { status: response?.status() ?? null, headers: await response?.allHeaders() };
  },
  async reload({ at: { page } }) {
    await page.reload();
  },
  async size({ at: { page }, width, height, scheme }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
  },
  async click({ at: { page }, ...what }) {
    await thing(page, what).click();
  },
  // Letter by letter, so that what follows what is typed has its chance.
  async type({ at: { page }, text, ...what }) {
    await thing(page, what).pressSequentially(text);
  },
  async fill({ at: { page }, text, ...what }) {
    await thing(page, what).fill(text);
  },
  // Chooses a file with this text.
  async attach({ at: { page }, name, text, ...what }) {
    await thing(page, what).setInputFiles({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(text) });
  },
  async select({ at: { page }, text, ...what }) {
    await thing(page, what).selectOption(text);
  },
  async check({ at: { page }, ...what }) {
    await thing(page, what).check();
  },
  async press({ at: { page }, key }) {
    await page.keyboard.press(key);
  },
  async value({ at: { page }, ...what }) {
    return thing(page, what).inputValue();
  },
  async checked({ at: { page }, ...what }) {
    return thing(page, what).isChecked();
  },
  async count({ at: { page }, role, name }) {
    return page.getByRole(role, name === undefined ? {} : { name, exact: true }).count();
  },
  // Waits for a text that can be seen, or a thing.
  async sees({ at: { page }, text, ...what }) {
    await (what.role ? thing(page, what) : page.getByText(text).filter({ visible: true }).first()).waitFor();
  },
  async gone({ at: { page }, text }) {
    await page.getByText(text).filter({ visible: true }).first().waitFor({ state: 'hidden' });
  },
  // Waits until it is at an address that ends so, query and all.
  async arrives({ at: { page }, pattern }) {
    await page.waitForURL(new RegExp(pattern));
    return page.url();
  },
  async address({ at: { page } }) {
    return page.url();
  },
  async text({ at: { page } }) {
    return page.locator('body').innerText();
  },
  async evaluate({ at: { page }, script }) {
    return page.evaluate(script);
  },
  async cookies({ at: { page } }) {
    return page.context().cookies();
  },
  async give({ at: { page }, cookies }) {
    await page.context().addCookies(cookies);
  },
  // A device that keeps passkeys, as long as the page is there: its person is who they are, or not.
  async device({ at: { page }, verified = true }) {
    const session = await page.context().newCDPSession(page);
    await session.send('WebAuthn.enable');
    const options = {
      protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: verified, automaticPresenceSimulation: true,
    };
    await session.send('WebAuthn.addVirtualAuthenticator', { options });
  },
  async storage({ at: { page } }) {
    return storage(page);
  },
  async answers({ at: { kept } }) {
    return kept.answers;
  },
  async complaints({ at: { kept } }) {
    return kept.complaints;
  },
  async audit({ at: { page }, rules }) {
    return audit(page, rules);
  },
  async overflow({ at: { page } }) {
    return overflow(page);
  },
  async unreached({ at: { page } }) {
    return unreached(page);
  },
  // What of the page fits the window, as a small file. Gives the path with its ending.
  async screenshot({ at: { page }, path }) {
    const session = await page.context().newCDPSession(page);
    const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: QUALITY });
    await session.detach();
    const file = `${path}.webp`;
    await writeFile(file, Buffer.from(data, 'base64'));
    return file;
  },
};

async function take(line) {
  const { id, do: what, page: name, ...more } = JSON.parse(line);
  const at = pages.get(name);
  try {
    const answer = await calls[what]({ at, page: name, ...more });
    return { id, answer: answer ?? null };
  } catch (error) {
    // Where it was says more than that something did not come.
    const there = await at?.page.locator('body').innerText({ timeout: 1000 }).catch(() => '(nothing)');
    return { id, error: `${error.message}\nat ${at?.page.url()}, which says:\n${there}` };
  }
}

// Whoever asked is gone.
process.stdout.on('error', () => process.exit());

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => process.stdout.write(`${JSON.stringify(await take(line))}\n`));
lines.on('close', async () => {
  await browser.close();
  process.exit();
});
