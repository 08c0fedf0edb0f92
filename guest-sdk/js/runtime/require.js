// `require` of a name that is only known at run time. What is named in the source was
// bundled; there is no file to load later.

export function require(name) {
  const error = new Error(
    `require(${JSON.stringify(name)}) is not possible: a step's modules are bundled when it is built. ` +
      "Name the module in an import or a require with a plain text",
  );
  error.code = "MODULE_NOT_FOUND";
  throw error;
}

require.resolve = require;
require.cache = {};
