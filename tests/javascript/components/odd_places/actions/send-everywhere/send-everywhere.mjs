import app from "../../odd_places.app.mjs";

export default {
  key: "odd_places-send-everywhere",
  name: "Send Everywhere",
  description: "Sends a text in each way that this service takes one. [See the documentation](https://api.odd-places.example/docs)",
  version: "0.1.0",
  type: "action",
  props: {
    app,
    text: {
      type: "string",
      label: "Text",
      description: "What to send",
    },
  },
  async run({ $ }) {
    const { text } = this;
    const answers = [
      await this.app.search({
        $,
        data: {
          text,
        },
      }),
      await this.app.sendSms({
        $,
        data: {
          text,
        },
      }),
      await this.app.upload(new Blob([
        text,
      ]), {
        $,
      }),
      await this.app.sendMessage({
        $,
        data: {
          text,
        },
      }),
      await this.app.sendAsUser({
        $,
        data: {
          text,
        },
      }),
      await this.app.sendAsEncodedUser({
        $,
        data: {
          text,
        },
      }),
    ];
    $.export("$summary", `Sent "${text}" in ${answers.length} ways`);
    return answers;
  },
};
