"use strict";
const form = document.getElementById("form"), said = document.getElementById("said");
const TABLE = [["city", "City 城市"], ["drivers", "Drivers 司机"], ["x", "X"], ["reservations", "Calls/day 呼叫"],
  ["y", "Y"], ["refused_a_day", "Refused/day 失败"], ["y_never", "Y, nobody refused 零失败"]];

function wanted() {
  const value = (name) => Number(form.elements[name].value);
  return {
    cities: [{ city: form.elements.city.value, drivers: value("drivers"), orders_a_day: value("orders_a_day"),
      orders_per_driver: value("orders_per_driver") }],
    call_probability: value("call_probability"), binding_life_s: value("life") * 60,
    recycle_s: value("recycle") * 3600, blocking: value("blocking"),
  };
}

async function ask(path) {
  const headers = { "Authorization": `Bearer ${form.elements.key.value}`, "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(wanted()) });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer;
}

function cells(row, tag, texts) {
  for (const text of texts) row.appendChild(document.createElement(tag)).textContent = text;
}

function show(plan) {
  const table = document.getElementById("table");
  table.tHead.replaceChildren();
  table.tBodies[0].replaceChildren();
  cells(table.tHead.insertRow(), "th", TABLE.map(([, title]) => title));
  for (const city of plan.cities) {
    const text = (value) => typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : value;
    cells(table.tBodies[0].insertRow(), "td", TABLE.map(([name]) => text(city[name])));
  }
  table.hidden = false;
}

async function draw() {
  const answer = await ask(`v1/plans/picture?format=svg&language=${form.elements.language.value}`);
  const picture = document.createElement("img");
  picture.alt = "plan";
  picture.src = URL.createObjectURL(await answer.blob());
  await picture.decode();
  document.getElementById("picture").replaceChildren(picture);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  said.className = "";
  said.textContent = "…";
  try {
    show(await (await ask("v1/plans")).json());
    await draw();
    said.textContent = "";
  } catch (error) {
    said.className = "failed";
    said.textContent = error.message;
  }
  button.disabled = false;
});
