#include "app/gui/demo_start.h"

#include <vector>

#include "app/gui/application.h"
#include "app/gui/database_experiment_service.h"
#include "ui/pages/main_window.h"
#include "ui/pages/recipe_page.h"

namespace fettle::app {

void startDemoWhenEmpty(GuiApplication& application) {
    QObject::connect(&application, &GuiApplication::ready, &application, [&application] {
        if (!application.experiments()->experiments().empty() ||
            application.experiments()->readOnly()) {
            return;
        }
        ui::RecipePage* page = application.window()->recipe();
        page->useModel(QStringLiteral("demo"));
        std::vector<Recipe> recipes;
        for (const auto& [preset, help] : page->presets()) {
            recipes.push_back(preset);
        }
        Recipe drafted;
        drafted.name = "Speculative decoding, bundled draft";
        drafted.steps = {{"speculative", {{"draft", "demo-draft"}}}};
        recipes.push_back(drafted);
        page->queueRecipes(recipes);
        application.window()->showPage(ui::MainWindow::Page::Explore);
    });
}

}  // namespace fettle::app
