import wiki from "../../tenant_wiki.app.mjs";

export default {
  key: "tenant_wiki-search",
  name: "Search",
  version: "0.0.1",
  type: "action",
  props: {
    wiki,
  },
  run({ $ }) {
    return this.wiki.search($);
  },
};
