// What the page does: it tells of its text whenever that changes, and what the server sends back.

import { text } from "./text.js";

tell(`loaded ${text}`);
import.meta.hot.accept("./text.js", ({ text }) => tell(`updated ${text}`));
import.meta.hot.on("said", ({ text }) => tell(`said ${text}`));
window.say = (text) => import.meta.hot.send("say", { text });
