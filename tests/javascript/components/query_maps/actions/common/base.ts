import { ConfigurationError } from "@pipedream/platform";
import maps from "../../app/query_maps.app";

export default {
  props: {
    maps,
    syncDir: {
      type: "dir",
      accessMode: "read",
      sync: true,
      optional: true,
    },
  },
  methods: {
    checkAddress(address: string): void {
      if (!address.trim()) {
        throw new ConfigurationError("Give an address");
      }
    },
  },
} as const;
