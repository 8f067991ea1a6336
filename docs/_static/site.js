// A browser fetches nothing from file://, so search shows titles there, and excerpts on a server.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
