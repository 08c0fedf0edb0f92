import pay from "../../basic_pay.app.mjs";

export default {
  key: "basic_pay-charge",
  name: "Charge",
  version: "0.0.1",
  type: "action",
  props: {
    pay,
  },
  run({ $ }) {
    return this.pay.createCharge({
      $,
    });
  },
};
