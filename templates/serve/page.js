(() => {
  document.documentElement.classList.add("js");
  const state = document.getElementById("state");
  const live = document.getElementById("live");
  const typing = () => document.activeElement && document.activeElement.matches("main input, main select, main textarea");
  let busy = false, again = false;
  async function refresh() {
    if (busy || typing()) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) { location.reload(); return; }
      const text = await answer.text();
      const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      if (answer.ok && next && !typing()) {
        const focused = document.activeElement && document.activeElement.getAttribute("href");
        const open = new Set(Array.from(document.querySelectorAll("main details[open][id]"), (one) => one.id));
        next.querySelectorAll("details[id]").forEach((one) => { one.open = open.has(one.id); });
        document.querySelector("main").replaceWith(document.adoptNode(next));
        if (focused) {
          const link = document.querySelector(`main a[href="${CSS.escape(focused)}"]`);
          if (link) link.focus({ preventScroll: true });
        }
        const says = next.dataset.says || "";
        if (live.textContent !== says) live.textContent = says;
      }
    } catch (error) {
      state.textContent = "not connected";
    } finally {
      busy = false;
    }
  }
  document.addEventListener("focusout", () => setTimeout(() => { if (again) refresh(); }, 200));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  if (state && window.EventSource) {
    const events = new EventSource("/events");
    events.addEventListener("open", () => { state.textContent = "live"; });
    events.addEventListener("error", () => { state.textContent = "not connected"; });
    events.addEventListener("change", refresh);
  }
})();
