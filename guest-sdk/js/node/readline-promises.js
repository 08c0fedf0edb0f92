// node:readline/promises.

import { Interface, createInterface } from "./readline.js";

export { Interface, createInterface };
export default { Interface, createInterface };
