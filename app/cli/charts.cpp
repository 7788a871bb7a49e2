#include "app/cli/charts.h"

#ifdef FETTLE_WITH_CHARTS
#include <cstdlib>

#include "ui/charts/chart_export.h"
#endif

namespace fettle::cli {

#ifdef FETTLE_WITH_CHARTS

std::vector<std::string> writeCharts(const std::vector<ExperimentRecord>& records,
                                     const std::filesystem::path& folder, const std::string& name,
                                     const std::string& x, const std::string& y) {
    // No display is needed or wanted, even where there is one.
    setenv("QT_QPA_PLATFORM", "offscreen", 1);
    std::vector<std::string> written;
    for (const char* ending : {".svg", ".png"}) {
        const std::string path = (folder / (name + ending)).string();
        if (ui::writeTradeoffChart(records, QString::fromStdString(x), QString::fromStdString(y),
                                   QString::fromStdString(path), QSize(1200, 760), false))
            written.push_back(path);
    }
    return written;
}

#else

std::vector<std::string> writeCharts(const std::vector<ExperimentRecord>&,
                                     const std::filesystem::path&, const std::string&,
                                     const std::string&, const std::string&) {
    return {};
}

#endif

}  // namespace fettle::cli
