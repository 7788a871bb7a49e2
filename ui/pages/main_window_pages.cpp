// MainWindow: pages whose wishes reach over to other pages, and what is done about them.
#include <QTabWidget>

#include "ui/bridge/job_controller.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/advisor_page.h"
#include "ui/pages/allocation_page.h"
#include "ui/pages/draft_lab_page.h"
#include "ui/pages/explore_page.h"
#include "ui/pages/export_page.h"
#include "ui/pages/library_page.h"
#include "ui/pages/main_window.h"
#include "ui/pages/model_view.h"
#include "ui/pages/recipe_page.h"
#include "ui/widgets/run_setup_panel.h"

namespace fettle::ui {

ExplorePage* MainWindow::makeExplorePage() {
    auto* page = new ExplorePage(m_jobs->experiments(), this);
    connect(page, &ExplorePage::exportRequested, this, [this](qint64 id) {
        showPage(Page::Export);
        exportPage()->chooseExperiment(id);
    });
    connect(page, &ExplorePage::rerunRequested, m_jobs, [this](qint64 id) { m_jobs->rerun(id); });
    connect(page, &ExplorePage::compareRequested, this, &MainWindow::compare);
    connect(page, &ExplorePage::allocationRequested, this, &MainWindow::allocateBits);
    return page;
}

AdvisorPage* MainWindow::makeAdvisorPage() {
    auto* page = new AdvisorPage(m_jobs, this);
    page->useModel(m_recipe->setup()->modelPath());
    connect(page, &AdvisorPage::errorOccurred, this,
            [this](const QString& title, const QString& text) {
                m_messages->show(MessageBar::Kind::Error, title, text);
            });
    connect(page, &AdvisorPage::experimentRequested, this, &MainWindow::showExperiment);
    connect(page, &AdvisorPage::exportRequested, this, [this](qint64 id) {
        showPage(Page::Export);
        exportPage()->chooseExperiment(id);
    });
    connect(page, &AdvisorPage::fileChosen, this,
            [this](const QString& path) { m_library->addPaths({path}); });
    return page;
}

AllocationPage* MainWindow::makeAllocationPage() {
    auto* page = new AllocationPage(m_jobs, this);
    page->useModel(m_recipe->setup()->modelPath());
    connect(page, &AllocationPage::errorOccurred, this,
            [this](const QString& title, const QString& text) {
                m_messages->show(MessageBar::Kind::Error, title, text);
            });
    connect(page, &AllocationPage::experimentRequested, this, &MainWindow::showExperiment);
    connect(page, &AllocationPage::fileChosen, this,
            [this](const QString& path) { m_library->addPaths({path}); });
    return page;
}

DraftLabPage* MainWindow::makeDraftLabPage() {
    auto* page = new DraftLabPage(m_jobs, this);
    page->useModel(m_recipe->setup()->modelPath());
    connect(page, &DraftLabPage::errorOccurred, this,
            [this](const QString& title, const QString& text) {
                m_messages->show(MessageBar::Kind::Error, title, text);
            });
    connect(page, &DraftLabPage::fileChosen, this,
            [this](const QString& path) { m_library->addPaths({path}); });
    return page;
}

void MainWindow::makeModelView() {
    m_modelView = new ModelView(m_jobs, this);
    connect(m_modelView, &ModelView::errorOccurred, this,
            [this](const QString& title, const QString& text) {
                m_messages->show(MessageBar::Kind::Error, title, text);
            });
    connect(m_modelView, &ModelView::excludeRequested, this, &MainWindow::excludeTensors);
    connect(m_modelView, &ModelView::pinRequested, this, &MainWindow::pinScheme);
    connect(m_modelView, &ModelView::dropRequested, this, &MainWindow::dropLayer);
    const auto show = [this] { m_modelView->setRecipe(m_recipe->model()->recipe()); };
    connect(m_recipe->model(), &RecipeModel::recipeChanged, m_modelView, show);
    show();
}

void MainWindow::excludeTensors(const QStringList& weights) {
    const int row = m_recipe->model()->excludeTensors(weights);
    if (row < 0) {
        m_messages->show(MessageBar::Kind::Warning, tr("Leave alone"),
                         tr("No step of the recipe can leave tensors as they are. Add a step that "
                            "quantizes, then try again."));
        return;
    }
    m_messages->show(MessageBar::Kind::Success, tr("Left alone"),
                     tr("Step %1 of the recipe leaves %2 as it is.")
                         .arg(row + 1)
                         .arg(weights.join(QStringLiteral(", "))),
                     tr("Show"), [this] { showPage(Page::Recipe); });
}

void MainWindow::pinScheme(const QStringList& weights, const QString& scheme) {
    const int row = m_recipe->model()->pinScheme(weights, scheme);
    if (row < 0) {
        m_messages->show(MessageBar::Kind::Warning, tr("Pin the scheme"),
                         tr("No step of the recipe gives single weights a scheme."));
        return;
    }
    const QString what =
        weights.size() == 1 ? weights.front() : tr("%1 weights").arg(weights.size());
    m_messages->show(
        MessageBar::Kind::Success, scheme.isEmpty() ? tr("No pin") : tr("Pinned"),
        scheme.isEmpty() ? tr("Step %1 of the recipe chooses for %2.").arg(row + 1).arg(what)
        : scheme == QLatin1String("none")
            ? tr("Step %1 of the recipe leaves %2 as it is.").arg(row + 1).arg(what)
            : tr("Step %1 of the recipe stores %2 as %3.").arg(row + 1).arg(what, scheme),
        tr("Show"), [this] { showPage(Page::Recipe); });
}

void MainWindow::dropLayer(int layer, bool drop) {
    const int row = m_recipe->model()->dropLayer(layer, drop);
    if (row < 0) {
        m_messages->show(MessageBar::Kind::Warning, tr("Prune"),
                         tr("No step of the recipe takes single layers out."));
        return;
    }
    m_messages->show(MessageBar::Kind::Success, drop ? tr("Taken out") : tr("Put back"),
                     drop ? tr("Step %1 of the recipe takes layer %2 out.").arg(row + 1).arg(layer)
                          : tr("Step %1 of the recipe keeps layer %2.").arg(row + 1).arg(layer),
                     tr("Show"), [this] { showPage(Page::Recipe); });
}

void MainWindow::allocateBits(qint64 id) {
    showPage(Page::Precision);
    m_allocation->chooseExperiment(id);
}

}  // namespace fettle::ui
