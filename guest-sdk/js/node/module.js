// node:module: a step's modules are bundled, so nothing is loaded later.

import { require } from "../runtime/require.js";

export const createRequire = () => require;
export const builtinModules = [];
export const isBuiltin = () => false;
export default { createRequire, builtinModules, isBuiltin };
