// DER and PEM, as far as keys need them.

export function tagged(tag, ...contents) {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

export const integer = (bytes) => tagged(2, bytes[0] > 127 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
export const sequence = (...contents) => tagged(0x30, ...contents);
export const octets = (bytes) => tagged(4, bytes);
export const bits = (bytes) => tagged(3, Buffer.from([0]), bytes);

export const pem = (label, der) => `-----BEGIN ${label}-----\n${der.toString("base64").match(/.{1,64}/g).join("\n")}\n-----END ${label}-----\n`;

/** What stands before the key of Ed25519 (RFC 8410). */
export const [SPKI_ED25519, PKCS8_ED25519] = ["302a300506032b6570032100", "302e020100300506032b657004220420"].map((text) => Buffer.from(text, "hex"));

/** The bytes of a text between its first BEGIN and END, or undefined. */
export function unpem(text) {
  const [, body] = /-----BEGIN [^-]+-----([^-]+)-----END /.exec(text) ?? [];
  return body === undefined ? undefined : Buffer.from(body, "base64");
}
