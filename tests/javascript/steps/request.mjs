// A request that whoever configures the step puts together.

export default {
  name: "request",
  props: { request: { type: "http_request", label: "Request", default: { method: "GET" } } },
  async run() {
    const { url } = this.request;
    try {
      return await this.request.execute();
    } catch (error) {
      return { url, error: error.message, answer: error.response?.data };
    }
  },
};
