import { defineComponent } from "@keyhole/sdk";

interface Weather {
  name: string;
  weather: { description: string }[];
  main: { temp: number };
}

export default defineComponent({
  key: "weather",
  description: "Tells the weather of a city",
  version: "0.1.0",
  props: {
    openweather: { type: "app", app: "openweather" },
    city: { type: "string", label: "City" },
    units: { type: "string", options: ["metric", "imperial"], default: "metric" },
  },
  async run({ $ }) {
    const url = new URL("https://api.openweathermap.org/data/2.5/weather");
    url.search = new URLSearchParams({ q: this.city, units: this.units, appid: this.openweather.$auth.api_key }).toString();
    const response = await fetch(url);
    if (!response.ok) throw new Error(`OpenWeather answered ${response.status}: ${await response.text()}`);
    const { name, weather, main } = (await response.json()) as Weather;
    const summary = `${name}: ${weather.map((one) => one.description).join(", ")}, ${main.temp}°`;
    $.export("$summary", summary);
    return { city: name, temperature: main.temp, summary };
  },
});
