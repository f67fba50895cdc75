// Whether what is shown is kept up to date, in words.
"use strict";

function say(isLive) {
  const state = document.getElementById("live-state");
  if (state) {
    state.classList.toggle("on", isLive);
    state.classList.toggle("lost", !isLive);
    state.querySelector(".word").textContent = isLive ? "Live" : "Not connected";
  }
}

document.addEventListener("htmx:sse:after:connection", () => say(true));
document.addEventListener("htmx:sse:error", () => say(false));
