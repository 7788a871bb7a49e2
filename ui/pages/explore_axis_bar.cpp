#include "ui/pages/explore_axis_bar.h"

#include <QAbstractItemView>
#include <QCheckBox>
#include <QComboBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QMenu>
#include <QPushButton>
#include <QSet>
#include <QSignalBlocker>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/engine_text.h"
#include "ui/charts/axis_scale.h"
#include "ui/widgets/flow_layout.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

ExploreAxisBar::ExploreAxisBar(QWidget* parent)
    : QWidget(parent),
      m_flow(new FlowLayout(nullptr, 12)),
      m_logX(new QCheckBox(tr("log"), this)),
      m_logY(new QCheckBox(tr("log"), this)),
      m_select(new QPushButton(this)),
      m_reset(new QPushButton(this)),
      m_protocolRow(new QWidget(this)),
      m_protocolNote(makeLabel({}, TextRole::Caption, m_protocolRow)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(6);
    column->addLayout(m_flow);
    buildViewSwitch();
    const auto add = [&](QHBoxLayout* group, const QString& name, const QString& label) {
        auto* box = new QComboBox(this);
        box->setObjectName(name);
        box->setAccessibleName(label);
        box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
        box->setMinimumContentsLength(10);
        box->setMaximumWidth(230);
        auto* caption = makeLabel(label, TextRole::Caption, this);
        caption->setBuddy(box);
        group->addWidget(caption);
        group->addWidget(box);
        connect(box, &QComboBox::currentIndexChanged, this, [this] {
            m_query = query();
            emit queryChanged();
        });
        return box;
    };
    QHBoxLayout* x = addGroup(true);
    m_x = add(x, QStringLiteral("xMetric"), tr("X"));
    x->addWidget(m_logX);
    QHBoxLayout* y = addGroup(true);
    m_y = add(y, QStringLiteral("yMetric"), tr("Y"));
    y->addWidget(m_logY);
    m_color = add(addGroup(false), QStringLiteral("colorMetric"), tr("Colour"));
    m_size = add(addGroup(true), QStringLiteral("sizeMetric"), tr("Size"));
    m_third = add(addGroup(true), QStringLiteral("frontMetric"), tr("Front"));
    m_third->setToolTip(
        tr("The Pareto front is of X and Y, or of a third metric as well: what no other experiment "
           "beats in all of them stands out."));
    m_logX->setObjectName(QStringLiteral("logX"));
    m_logY->setObjectName(QStringLiteral("logY"));
    m_logX->setToolTip(tr("Logarithmic X axis"));
    m_logY->setToolTip(tr("Logarithmic Y axis"));
    m_select->setText(tr("Brush"));
    m_select->setObjectName(QStringLiteral("brushMode"));
    m_select->setCheckable(true);
    m_select->setToolTip(tr(
        "Dragging selects points instead of moving the view. Holding Shift does so at any time."));
    m_reset->setText(tr("Reset view"));
    m_reset->setObjectName(QStringLiteral("resetView"));
    m_reset->setEnabled(false);
    m_reset->setToolTip(tr("Show all points (double click on empty ground)"));
    QHBoxLayout* view = addGroup(true);
    view->addWidget(m_select);
    view->addWidget(m_reset);

    buildProtocolRow();
    column->addWidget(m_protocolRow);
    m_protocolRow->hide();

    connect(m_logX, &QCheckBox::toggled, this, &ExploreAxisBar::logChanged);
    connect(m_logY, &QCheckBox::toggled, this, &ExploreAxisBar::logChanged);
    connect(m_select, &QPushButton::toggled, this, &ExploreAxisBar::selectModeChanged);
    connect(m_reset, &QPushButton::clicked, this, &ExploreAxisBar::resetRequested);
    showForView();
}

QHBoxLayout* ExploreAxisBar::addGroup(bool scatterOnly) {
    auto* group = new QWidget(this);
    auto* row = new QHBoxLayout(group);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(6);
    m_flow->addWidget(group);
    if (scatterOnly) {
        m_scatterOnly.push_back(group);
    }
    return row;
}

void ExploreAxisBar::buildViewSwitch() {
    m_view = new QComboBox(this);
    m_view->setObjectName(QStringLiteral("chartView"));
    m_view->setAccessibleName(tr("Chart"));
    m_view->setToolTip(
        tr("Scatter: two metrics. Parallel: many metrics, one line per experiment."));
    m_view->addItems({tr("Scatter"), tr("Parallel"), tr("Both")});
    m_axes = new QToolButton(this);
    m_axes->setObjectName(QStringLiteral("parallelAxes"));
    m_axes->setText(tr("Axes"));
    m_axes->setToolTip(
        tr("Metrics of the parallel chart. Drag a title there to move its axis, "
           "double click it to turn the axis over."));
    m_axes->setPopupMode(QToolButton::InstantPopup);
    m_axes->setFocusPolicy(Qt::StrongFocus);
    setStyleClass(m_axes, "with-menu");
    m_axes->setMenu(new QMenu(m_axes));
    QHBoxLayout* row = addGroup(false);
    row->addWidget(m_view);
    row->addWidget(m_axes);
    connect(m_axes->menu(), &QMenu::aboutToShow, this, &ExploreAxisBar::chooseParallelAxes);
    connect(m_view, &QComboBox::currentIndexChanged, this, [this] {
        showForView();
        emit viewChanged();
    });
}

void ExploreAxisBar::showForView() {
    for (QWidget* widget : m_scatterOnly) {
        widget->setVisible(view() != View::Parallel);
    }
    m_axes->setVisible(view() != View::Scatter);
}

ExploreAxisBar::View ExploreAxisBar::view() const {
    return static_cast<View>(std::max(m_view->currentIndex(), 0));
}

void ExploreAxisBar::setView(View view) {
    m_view->setCurrentIndex(static_cast<int>(view));
    showForView();
}

void ExploreAxisBar::setParallelAxes(const QStringList& metrics) {
    if (metrics != m_parallelAxes) {
        m_parallelAxes = metrics;
        emit parallelAxesChanged();
    }
}

void ExploreAxisBar::chooseParallelAxes() {
    QMenu* menu = m_axes->menu();
    menu->clear();
    for (const QString& metric : m_metrics) {
        QAction* action = menu->addAction(metricTitle(metric));
        action->setCheckable(true);
        action->setChecked(m_parallelAxes.contains(metric));
        connect(action, &QAction::toggled, this, [this, metric](bool shown) {
            QStringList axes = m_parallelAxes;
            axes.removeAll(metric);
            if (shown) {
                axes << metric;  // to the right of those that are there
            }
            setParallelAxes(axes);
        });
    }
}

void ExploreAxisBar::buildProtocolRow() {
    auto* row = new QHBoxLayout(m_protocolRow);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(6);
    for (int axis = 0; axis < 2; ++axis) {
        m_protocolCaption[axis] = makeLabel({}, TextRole::Caption, m_protocolRow);
        QComboBox* box = m_protocol[axis] = new QComboBox(m_protocolRow);
        box->setObjectName(axis == 0 ? QStringLiteral("xProtocol") : QStringLiteral("yProtocol"));
        box->setAccessibleName(axis == 0 ? tr("Measuring protocol of X")
                                         : tr("Measuring protocol of Y"));
        box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
        box->setMinimumContentsLength(18);
        m_protocolCaption[axis]->setBuddy(box);
        row->addWidget(m_protocolCaption[axis]);
        row->addWidget(box, 1);
        connect(box, &QComboBox::currentIndexChanged, this, [this, axis] {
            const QString protocol = m_protocol[axis]->currentData().toString();
            m_query.protocols[axis == 0 ? m_query.x : m_query.y] = protocol;
            if (m_protocol[1 - axis]->isHidden()) {
                // Both axes come from one measurement, or the other axis knows one protocol and
                // ignores this.
                m_query.protocols[axis == 0 ? m_query.y : m_query.x] = protocol;
            }
            emit queryChanged();
        });
    }
    m_protocolNote->setObjectName(QStringLiteral("protocolNote"));
    m_protocolNote->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    row->addWidget(m_protocolNote, 2);
}

TradeoffQuery ExploreAxisBar::query() const {
    TradeoffQuery query = m_query;
    // An empty box (no experiments yet) leaves the wish as it was.
    const auto take = [](const QComboBox* box, QString& metric) {
        if (box->currentIndex() >= 0) {
            metric = box->currentData().toString();
        }
    };
    take(m_x, query.x);
    take(m_y, query.y);
    take(m_color, query.color);
    take(m_size, query.size);
    take(m_third, query.third);
    return query;
}

void ExploreAxisBar::setQuery(const TradeoffQuery& query) {
    m_query = query;
    for (auto [box, metric] : {std::pair(m_x, query.x),
                               {m_y, query.y},
                               {m_color, query.color},
                               {m_size, query.size},
                               {m_third, query.third}}) {
        const QSignalBlocker quiet(box);
        box->setCurrentIndex(box->findData(metric));
    }
    emit queryChanged();
}

bool ExploreAxisBar::logX() const {
    return m_logX->isChecked();
}

bool ExploreAxisBar::logY() const {
    return m_logY->isChecked();
}

void ExploreAxisBar::setLog(bool x, bool y) {
    m_logX->setChecked(x);
    m_logY->setChecked(y);
}

void ExploreAxisBar::fill(QComboBox& box, const QStringList& metrics, const QString& wanted) const {
    const QSignalBlocker quiet(box);
    box.clear();
    if (&box == m_color) {
        box.addItem(tr("Technique"), QString());
    } else if (&box == m_size) {
        box.addItem(tr("All equal"), QString());
    } else if (&box == m_third) {
        box.addItem(tr("X and Y"), QString());
    }
    for (const QString& metric : metrics) {
        const MetricInfo* known = findMetric(metric.toStdString());
        if (&box == m_third && (!known || known->better == BetterWhen::Neither)) {
            continue;  // a front needs a direction
        }
        box.addItem(
            &box == m_third ? tr("X, Y and %1").arg(metricTitle(metric)) : metricTitle(metric),
            metric);
        if (const MetricInfo* info = findMetric(metric.toStdString())) {
            box.setItemData(box.count() - 1, engineText(info->help), Qt::ToolTipRole);
        }
    }
    box.setCurrentIndex(box.findData(wanted));
    if (box.currentIndex() < 0 && box.count() > 0) {
        box.setCurrentIndex(0);
    }
    box.view()->setMinimumWidth(250);
}

void ExploreAxisBar::setMetrics(const QStringList& metrics) {
    m_metrics = metrics;
    fill(*m_x, metrics, m_query.x);
    fill(*m_y, metrics, m_query.y);
    fill(*m_color, metrics, m_query.color);
    fill(*m_size, metrics, m_query.size);
    fill(*m_third, metrics, m_query.third);
    // Both axes on one metric say nothing: happens only while the wished one is missing.
    if (metrics.size() > 1 && m_x->currentIndex() == m_y->currentIndex()) {
        const QSignalBlocker quiet(m_y);
        m_y->setCurrentIndex(m_x->currentIndex() == 0 ? 1 : 0);
    }
}

void ExploreAxisBar::setProtocols(const TradeoffData& data) {
    const auto names = [](const std::vector<ProtocolCount>& protocols) {
        QSet<QString> result;
        for (const ProtocolCount& entry : protocols) {
            result.insert(entry.protocol);
        }
        return result;
    };
    const bool y = data.yProtocols.size() > 1;
    const bool x =
        data.xProtocols.size() > 1 && !(y && names(data.xProtocols) == names(data.yProtocols));
    const auto show = [&](int axis, bool shown, const std::vector<ProtocolCount>& protocols,
                          const QString& drawn, const QString& metric) {
        QComboBox* box = m_protocol[axis];
        const QSignalBlocker quiet(box);
        box->clear();
        for (const ProtocolCount& entry : protocols) {
            const QString title =
                entry.protocol.isEmpty() ? tr("unnamed protocol") : entry.protocol;
            box->addItem(tr("%1 (%2)").arg(title).arg(entry.count), entry.protocol);
            box->setItemData(box->count() - 1, title, Qt::ToolTipRole);
        }
        box->setCurrentIndex(box->findData(drawn));
        box->setToolTip(drawn);
        box->view()->setMinimumWidth(320);
        box->setVisible(shown);
        m_protocolCaption[axis]->setText(tr("%1 by").arg(metricTitle(metric)));
        m_protocolCaption[axis]->setVisible(shown);
    };
    show(0, x, data.xProtocols, data.xProtocol, data.query.x);
    show(1, y, data.yProtocols, data.yProtocol, data.query.y);
    m_protocolRow->setVisible(x || y);
    m_protocolNote->setText(
        tr("Different protocols are not comparable: %1 not drawn.").arg(data.otherProtocol));
    m_protocolNote->setToolTip(m_protocolNote->text());
}

void ExploreAxisBar::setZoomed(bool zoomed) {
    m_reset->setEnabled(zoomed);
}

}  // namespace fettle::ui
