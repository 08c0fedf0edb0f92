import { WebClient } from '@slack/web-api';

export default defineComponent({
  props: { slack: { type: 'app', app: 'slack' } },
  async run({ steps, $ }) {
    const web = new WebClient(this.slack.$auth.oauth_access_token)
    return await web.chat.postMessage({ text: "Hello, world!", channel: "#general" });
  }
});
