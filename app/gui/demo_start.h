// The first minutes of a new user: the bundled model goes through every preset, and the chart of
// the results is open.
#pragma once

namespace fettle::app {

class GuiApplication;

/// Once the database is open, and only if it holds no experiment yet: queues the bundled model with
/// all presets and with the bundled draft, and shows the explore page.
void startDemoWhenEmpty(GuiApplication& application);

}  // namespace fettle::app
