// A class of a package that is evaluated when it is first used. It can be extended, asked
// `instanceof` of, and called without `new`, as the older classes of Node.js can.

/** Stands for the class that `real` gives. */
export function lazyClass(real) {
  let found;
  const get = () => {
    if (found === undefined) {
      found = real();
      Object.setPrototypeOf(Lazy.prototype, found.prototype);
      Object.setPrototypeOf(Lazy, found);
    }
    return found;
  };
  function Lazy(...values) {
    const own = get();
    // `Lazy.call(this)`, as classes before ES2015 extend: what is made is put on the caller's object.
    if (new.target === undefined && this instanceof Lazy) return own.apply(this, values);
    return Reflect.construct(own, values, new.target === undefined ? Lazy : new.target);
  }
  Object.defineProperty(Lazy, Symbol.hasInstance, {
    value(value) {
      if (value === null || typeof value !== "object") return false;
      return this.prototype.isPrototypeOf(value) || (this === Lazy && found !== undefined && found.prototype.isPrototypeOf(value));
    },
  });
  return Lazy;
}
