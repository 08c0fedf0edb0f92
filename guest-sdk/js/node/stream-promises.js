// node:stream/promises.

import { promises } from "./stream.js";

export default promises;
export const { finished, pipeline } = promises;
