import sendgrid from "./sendgrid.app.mjs";

export default defineComponent({
  key: "sendgrid-mail",
  name: "Send a mail",
  description: "Sends one mail through SendGrid",
  version: "0.1.0",
  type: "action",
  props: {
    sendgrid,
    from: { propDefinition: [sendgrid, "address"], label: "From" },
    to: { propDefinition: [sendgrid, "address"], label: "To" },
    subject: { type: "string" },
    text: { type: "string", label: "Text" },
  },
  async run({ $ }) {
    const id = await this.sendgrid.send({
      from: { email: this.from },
      personalizations: [{ to: [{ email: this.to }] }],
      subject: this.subject,
      content: [{ type: "text/plain", value: this.text }],
    });
    $.export("$summary", `Sent to ${this.to}`);
    return { id };
  },
});
