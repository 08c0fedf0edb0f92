// node:https: as node:http, with the other scheme.

import http, { Agent as HttpAgent, ClientRequest, Server, createServer } from "./http.js";

export class Agent extends HttpAgent {
  constructor(options) {
    super(options);
    this.defaultPort = 443;
    this.protocol = "https:";
  }
}

export const globalAgent = new Agent();
export { Server, createServer };
export const request = (input, options, callback) => new ClientRequest(input, options, callback, "https:");
export const get = (input, options, callback) => request(input, options, callback).end();

export default { ...http, Agent, globalAgent, Server, createServer, request, get };
