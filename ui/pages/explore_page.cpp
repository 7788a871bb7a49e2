#include "ui/pages/explore_page.h"

#include "ui/bridge/experiment_service.h"

namespace fettle::ui {

ExplorePage::ExplorePage(ExperimentService* service, QWidget* parent)
    : QWidget(parent), m_service(service) {
    Q_ASSERT(m_service);
}

ExplorePage::~ExplorePage() = default;

}  // namespace fettle::ui
