"use strict";

const element = (id) => document.getElementById(id);

let pusher = null;
let channel = null;

function join(name) {
  const secure = location.protocol === "https:";
  pusher = new Pusher(config.key, {
    wsHost: config.host ?? location.hostname,
    wsPort: config.port,
    wssPort: config.port,
    forceTLS: secure,
    enabledTransports: [secure ? "wss" : "ws"],
    cluster: "", // pusher-js requires it, but does not use it with wsHost.
    channelAuthorization: { endpoint: "pusher/auth", params: { name } },
  });
  pusher.connection.bind("state_change", ({ current }) => {
    // The state "disconnected" only follows leave().
    if (!["connected", "disconnected"].includes(current)) say(`${current}…`);
  });
  // Errors from the server, such as too many messages in a second.
  pusher.connection.bind("error", (error) => say(error.data?.message ?? "connection failed"));

  channel = pusher.subscribe(config.channel);
  // Fires after each reconnect too.
  channel.bind("pusher:subscription_succeeded", () => {
    say(`You are ${channel.members.me.info.name}`);
    showMembers();
    showRoom(true);
  });
  channel.bind("pusher:subscription_error", (error) => {
    leave();
    say(`Cannot join: ${error.error ?? "refused"}`);
  });
  channel.bind("pusher:member_added", (member) => {
    say(`${member.info.name} joined`);
    showMembers();
  });
  channel.bind("pusher:member_removed", (member) => {
    say(`${member.info.name} left`);
    showMembers();
  });
  // The server adds the sender's user_id, so that nobody can impersonate another user.
  channel.bind("client-message", (data, { user_id }) => {
    const member = channel.members.get(user_id);
    if (member && typeof data?.text === "string") showMessage(member.info.name, data.text);
  });
}

function send(text) {
  // trigger() returns false without a connection; the text then stays in its field.
  if (!channel.trigger("client-message", { text })) return;
  // The server does not send a client event back to its sender.
  showMessage(channel.members.me.info.name, text, "mine");
  element("composer").reset();
}

function leave() {
  pusher?.disconnect();
  pusher = channel = null;
  element("members").replaceChildren();
  element("messages").replaceChildren();
  showRoom(false);
  say("");
}

function say(text) {
  element("status").textContent = text;
}

function showRoom(joined) {
  element("room").hidden = element("leave").hidden = !joined;
  element("entrance").hidden = joined;
  element("join").disabled = false;
  element(joined ? "message" : "name").focus();
}

function showMembers() {
  const items = [];
  channel.members.each(({ id, info }) => {
    const item = part("li", info.name);
    item.classList.toggle("me", id === channel.members.myID);
    items.push(item);
  });
  items.sort((a, b) => a.textContent.localeCompare(b.textContent));
  element("members").replaceChildren(...items);
}

function showMessage(author, text, kind = "theirs") {
  const item = document.createElement("li");
  item.className = kind;
  item.append(part("b", author), " ", part("span", text));
  element("messages").append(item);
  item.scrollIntoView({ block: "nearest" });
}

// Text from users only goes through textContent, which never creates markup.
function part(tag, text) {
  const created = document.createElement(tag);
  created.textContent = text;
  return created;
}

element("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  element("join").disabled = true;
  element("leave").hidden = false;
  join(element("name").value);
});
element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send(element("message").value);
});
element("leave").addEventListener("click", leave);
