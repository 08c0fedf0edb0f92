import mail from "../../header_mail.app.mjs";

export default defineComponent({
  key: "header_mail-send",
  name: "Send",
  version: "0.0.1",
  type: "action",
  props: {
    mail,
  },
  methods: {
    body() {
      return {
        to: "someone@example.com",
      };
    },
  },
  async run() {
    return this.mail.request({
      method: "post",
      url: "/send",
      data: this.body(),
    });
  },
});
