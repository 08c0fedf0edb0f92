// `$.send`: requests that a step leaves to be sent. `http` is sent through the broker, as
// every request is; the others have no service behind them.

import { StepError } from "./failure.js";
import { sendRequest } from "./request.js";

async function http({ method = "POST", url, headers, params, auth, data, body } = {}) {
  if (url === undefined) throw new StepError("$.send.http needs a url", "step");
  return sendRequest({ method, url, headers, params, auth, data: data ?? body });
}

/** Requests of `$.send.http` that nobody waited for. */
const pending = [];

function later(request) {
  pending.push(request.catch((error) => console.error(`$.send.http: ${error.message}`)));
}

/** Waits for what was left to be sent. */
export async function sendPending() {
  while (pending.length > 0) await pending.shift();
}

const INSTEAD = {
  email: "use an app that sends mail, such as SendGrid or Mailgun",
  emit: "return the value, or use $.export",
  s3: "use the S3 API with an AWS account",
  sse: "use $.respond",
  sql: "use an HTTP API of the database",
  snowflake: "use Snowflake's SQL API",
};

export const send = {
  http(options) {
    const request = http(options);
    later(request);
    return request;
  },
};

for (const [name, instead] of Object.entries(INSTEAD)) {
  send[name] = () => {
    throw new StepError(`$.send.${name} is not there: ${instead}`, "step");
  };
}
