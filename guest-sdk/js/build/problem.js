// What went wrong with a build, for the program to show: what, where, what to do.

export class Problems extends Error {
  /** @param {{ message: string, place?: string, help?: string }[]} list */
  constructor(list) {
    super(list.map((one) => one.message).join("; "));
    this.list = list;
  }
}

export function problem(message, { place, help } = {}) {
  return new Problems([{ message, place, help }]);
}
