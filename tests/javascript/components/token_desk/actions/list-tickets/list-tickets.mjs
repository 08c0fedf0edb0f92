import desk from "../../token_desk.app.mjs";

export default {
  key: "token_desk-list-tickets",
  name: "List Tickets",
  version: "0.0.1",
  type: "action",
  props: {
    desk,
  },
  async run({ $ }) {
    return await this.desk.listTickets($);
  },
};
