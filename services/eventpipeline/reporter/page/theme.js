// Light or dark. Runs before the first paint, so it is a classic script; main.js connects the button.
// Nothing stored means: as the system says. Choosing what the system says anyway forgets the choice.
"use strict";

const theme = {
  system: matchMedia("(prefers-color-scheme: dark)"),

  get stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage may be forbidden
    }
  },

  get dark() {
    return this.stored ? this.stored === "dark" : this.system.matches;
  },

  toggle() {
    const dark = !this.dark;
    try {
      if (dark === this.system.matches) localStorage.removeItem("theme");
      else localStorage.setItem("theme", dark ? "dark" : "light");
    } catch {
      // then the choice lasts as long as the page
    }
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  },

  apply() {
    if (this.stored === "dark" || this.stored === "light") document.documentElement.dataset.theme = this.stored;
    else delete document.documentElement.dataset.theme;
  },
};

theme.apply();
