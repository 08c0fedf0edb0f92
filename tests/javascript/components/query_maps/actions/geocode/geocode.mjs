import maps from "../../query_maps.app.mjs";

export default {
  key: "query_maps-geocode",
  name: "Geocode",
  version: "0.0.1",
  type: "action",
  props: {
    maps,
  },
  run({ $ }) {
    return this.maps.geocode({
      $,
      params: {
        address: "1 Main Street",
      },
    });
  },
};
