// What can be said of a page without knowing what it is for: whether everybody can use it.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// The violations that axe-core finds, of all its rules or of these, with the elements that have them.
export async function audit(page, rules) {
  // Not as a script of the page, which its policy would refuse.
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(AXE);
  const options = { resultTypes: ['violations'], ...(rules && { runOnly: rules }) };
  const { violations } = await page.evaluate((options) => window.axe.run(document, options), options);
  return violations.map(({ id, help, nodes }) => ({
    id, help, nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
  }));
}

// What sticks out of the window, if it can be scrolled sideways.
export async function overflow(page) {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.scrollingElement;
    if (scrollWidth <= clientWidth) return [];
    const wide = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > clientWidth + 0.5);
    return [`${scrollWidth} px in ${clientWidth}`, ...wide.map((one) => one.outerHTML.slice(0, 120))];
  });
}

// What Tab does not get to, and what has the focus without showing it.
export async function unreached(page) {
  const all = await page.evaluate(() => {
    document.activeElement?.blur();
    // What a menu has, too.
    window.wereClosed = [...document.querySelectorAll('details:not([open])')];
    for (const details of window.wereClosed) details.open = true;
    const candidates = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex="-1"])';
    const found = [...document.querySelectorAll(candidates)].filter((one) => one.checkVisibility() && !one.disabled);
    // Of the choices of one question Tab gets to one, and the arrows to the others.
    const asked = new Set();
    window.toReach = found.filter((one) => {
      if (one.type !== 'radio') return true;
      const first = !asked.has(one.name);
      asked.add(one.name);
      return first;
    });
    window.looks = (one) => {
      const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor } = getComputedStyle(one);
      return JSON.stringify({ outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor });
    };
    window.before = new Map(found.map((one) => [one, window.looks(one)]));
    window.reached = new Set();
    window.scrollTo(0, 0);
    return window.toReach.length;
  });
  const unseen = [];
  // Some browsers let Tab get to what scrolls, too, so there may be more than were looked for.
  for (let presses = 0; presses < all * 2 + 40; presses++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const one = document.activeElement;
      if (!one || one === document.body) return { out: true };
      // A date has several places of its own.
      if (one === window.last) return { same: true };
      window.last = one;
      if (window.reached.has(one)) return { again: true };
      window.reached.add(one);
      if (one.type === 'radio') for (const other of document.getElementsByName(one.name)) window.reached.add(other);
      const box = one.getBoundingClientRect();
      const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
      const before = window.before.get(one);
      const shown = inside && (before === undefined || before !== window.looks(one));
      return { shown, html: one.outerHTML.slice(0, 120) };
    });
    if (at.again) break;
    if (at.html && !at.shown) unseen.push(`the focus can't be seen: ${at.html}`);
    if (at.out && presses >= all) break;
  }
  const left = await page.evaluate(() => {
    // As it was, for who goes on with the page.
    document.activeElement?.blur();
    for (const details of window.wereClosed) details.open = false;
    window.scrollTo(0, 0);
    return window.toReach.filter((one) => !window.reached.has(one)).map((one) => `Tab does not get to ${one.outerHTML.slice(0, 120)}`);
  });
  return [...left, ...unseen];
}
