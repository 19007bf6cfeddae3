"use strict";
const form = document.getElementById("ask"), button = form.querySelector("button");
const state = document.getElementById("state"), result = document.getElementById("result");
const value = name => document.getElementById(name)?.value ?? "";

function say(text, wrong) {
  state.textContent = text;
  state.classList.toggle("wrong", Boolean(wrong));
}

async function tag() {
  const headers = { "Content-Type": "application/json", "Accept": "text/html, application/problem+json" };
  if (value("token")) headers.Authorization = "Bearer " + value("token");
  const asked = { id: "Tagged text", text: value("text") };
  if (value("target").trim()) asked.target = value("target");
  const answer = await fetch("/v1/tag", { method: "POST", headers, body: JSON.stringify(asked) });
  const body = await answer.text();
  if (!answer.ok) {
    const problem = JSON.parse(body);
    throw new Error(problem.title + ": " + problem.detail);
  }
  // The service has escaped the text; what it sends is marks and letters.
  result.innerHTML = body;
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  button.disabled = true;
  say("Reading …");
  try {
    await tag();
    say("Done.");
    result.focus();
  } catch (error) {
    result.replaceChildren();
    say(error instanceof TypeError ? "The service does not answer." : error.message, true);
  } finally {
    button.disabled = false;
  }
});

form.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
