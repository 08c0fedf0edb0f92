export default {
  type: "app",
  app: "raw_tasks",
  methods: {
    async query(query) {
      const response = await fetch("https://api.raw-tasks.example/v2", {
        method: "POST",
        headers: {
          "Authorization": this.$auth.api_key,
          "Content-Type": "application/json",
        },
        body: JSON.stringify({
          query,
        }),
      });
      return response.json();
    },
  },
};
