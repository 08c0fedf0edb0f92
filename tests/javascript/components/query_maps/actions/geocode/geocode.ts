import { defineAction } from "@pipedream/types";
import common from "../common/base";

export default defineAction({
  ...common,
  key: "query_maps-geocode",
  name: "Geocode",
  description: "Finds an address",
  version: "0.0.1",
  type: "action",
  props: {
    ...common.props,
    address: {
      propDefinition: [
        common.props.maps,
        "address",
      ],
    },
  },
  async run({ $ }): Promise<object> {
    this.checkAddress(this.address);
    const response = await this.maps.geocode({
      $,
      params: {
        address: this.address,
      },
    });
    $.export("$summary", `Found ${this.address}`);
    return response;
  },
});
