// What makes the pages more convenient. All of them work without it, but for passkeys.
'use strict';

// A page as it is now, or nothing.
async function ask(address) {
  const answer = await fetch(address).catch(() => null);
  return answer?.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), 'text/html') : null;
}

// Takes over what `fresh`, the same place of another page, has in it. The place itself stays: what reads aloud follows it.
function renew(place, fresh) {
  if (fresh && place.innerHTML !== fresh.innerHTML) place.replaceChildren(...fresh.childNodes);
}

// Lists that follow what is typed: the page is asked for anew, and what it has found takes the place of what this one has.
for (const form of document.querySelectorAll('form[data-list]')) {
  let asked = 0;
  let timer;
  form.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const turn = ++asked;
      const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
      const page = await ask(address);
      if (!page || turn !== asked) return;
      for (const id of ['found', form.dataset.list]) renew(document.getElementById(id), page.getElementById(id));
      history.replaceState(null, '', address);
    }, 150);
  });
}

// One menu at a time; Escape and a click elsewhere close it.
const open = () => document.querySelectorAll('details.menu[open]');
document.addEventListener('click', (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  for (const menu of open()) {
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});

// What can be copied has a button for it.
for (const place of document.querySelectorAll('.copy')) {
  const code = place.querySelector('code');
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch {
      // Whoever may not let pages do that has it ready for their own hand.
      getSelection().selectAllChildren(code);
    }
  });
  if (navigator.clipboard) place.append(button);
}

// A run that is under way: the server says when there is more to see.
const live = document.getElementById('live');
if (live?.dataset.events) {
  const events = new EventSource(live.dataset.events);
  const say = (text) => { document.getElementById('stale').textContent = text; };
  let [asked, shown] = [0, 0];
  events.addEventListener('changed', async () => {
    const turn = ++asked;
    const page = await ask(location.href);
    // One that was asked for later may have come before.
    if (turn < shown) return;
    shown = turn;
    const fresh = page?.getElementById('live');
    if (!fresh) {
      say('Not live any more; reload the page.');
      return;
    }
    say('');
    for (const details of live.querySelectorAll('details[id]')) {
      const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open || same.open;
    }
    // Whoever has the focus in there keeps it.
    const focused = document.activeElement;
    const place = focused?.closest('[data-live] [id]');
    const isSummary = focused?.tagName === 'SUMMARY';
    for (const part of document.querySelectorAll('[data-live]')) renew(part, page.getElementById(part.id));
    const again = place && document.getElementById(place.id);
    (isSummary ? again?.querySelector('summary') : again)?.focus();
    if (!fresh.dataset.events) events.close();
  });
  // One that ends is opened again by the browser, one that is refused is not.
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) say('Not live any more; reload the page.');
  });
}

// Passkeys, which a browser gives to scripts alone: what it answers goes into the form, and the form is sent.
const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

function asked({ challenge, user, ...more }) {
  const credentials = (list) => list?.map((one) => ({ ...one, id: bytes(one.id) }));
  return {
    ...more,
    challenge: bytes(challenge),
    ...(user && { user: { ...user, id: bytes(user.id) } }),
    ...(more.excludeCredentials && { excludeCredentials: credentials(more.excludeCredentials) }),
    ...(more.allowCredentials && { allowCredentials: credentials(more.allowCredentials) }),
  };
}

function answered(credential) {
  const { response } = credential;
  const parts = {};
  for (const name of ['attestationObject', 'authenticatorData', 'clientDataJSON', 'signature', 'userHandle']) {
    if (response[name] !== undefined) parts[name] = response[name] && text(response[name]);
  }
  const { id, type } = credential;
  const rk = credential.getClientExtensionResults().credProps?.rk;
  const extensions = rk === undefined ? {} : { credProps: { rk } };
  return JSON.stringify({ id, type, rawId: text(credential.rawId), response: parts, clientExtensionResults: extensions });
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const button = form.querySelector('button');
  const said = form.querySelector('[data-said]');
  if (!window.PublicKeyCredential) {
    said.textContent = 'This browser has no passkeys.';
    continue;
  }
  button.hidden = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = '';
    try {
      const answer = await fetch(form.dataset.begin, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
      const begun = await answer.json().catch(() => ({ detail: 'It did not work; load the page again.' }));
      if (!answer.ok) throw new Error(begun.detail);
      const options = { publicKey: asked(begun.publicKey) };
      const ways = navigator.credentials;
      const credential = await (form.dataset.passkey === 'create' ? ways.create(options) : ways.get(options));
      if (begun.ticket) form.elements.ticket.value = begun.ticket;
      form.elements.answer.value = answered(credential);
      form.submit();
    } catch (error) {
      const told = {
        InvalidStateError: 'This device has a passkey of yours already.',
        NotAllowedError: 'No passkey was used: it was cancelled, took too long, or there is none for this Keyhole.',
      };
      said.textContent = told[error.name] ?? error.message;
    } finally {
      button.disabled = false;
    }
  });
}
