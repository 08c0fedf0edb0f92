import https from "node:https";

export default {
  type: "app",
  app: "composed_jobs",
  methods: {
    listJobs() {
      const credentials = Buffer.from(`${this.$auth.email}:${this.$auth.api_token}`).toString("base64");
      return new Promise((resolve, reject) => {
        https.get("https://api.composed-jobs.example/jobs", {
          headers: {
            Authorization: `Basic ${credentials}`,
          },
        }, (response) => {
          let body = "";
          response.on("data", (chunk) => body += chunk);
          response.on("end", () => resolve(JSON.parse(body)));
        }).on("error", reject);
      });
    },
  },
};
