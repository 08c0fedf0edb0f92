import axios from "axios";

export default {
  type: "app",
  app: "sendgrid",
  propDefinitions: {
    address: {
      type: "string",
      description: "A mail address",
    },
  },
  methods: {
    async send(mail) {
      const { headers } = await axios.post(`https://${this.$auth.api_host}/v3/mail/send`, mail, {
        headers: { Authorization: `Bearer ${this.$auth.api_key}` },
      });
      return headers["x-message-id"];
    },
  },
};
