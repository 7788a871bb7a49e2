#include "ui/models/block_graph.h"

#include <QCoreApplication>
#include <QStringList>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "ui/models/layer_grid.h"

namespace fettle::ui {
namespace {

QString graphText(const char* text) {
    return QCoreApplication::translate("BlockGraph", text);
}

/// What the operations of a decoder layer are called, by the role of their tensors, in the order in
/// which data passes them. Roles of one row work side by side; "" is computed without weights.
struct OperationRow {
    std::array<const char*, 3> roles;
    const char* computed = nullptr;
};
constexpr std::array kAttention{OperationRow{{"attn_norm"}, nullptr},
                                OperationRow{{"attn.q", "attn.k", "attn.v"}, nullptr},
                                OperationRow{{"attn.q_norm", "attn.k_norm"}, nullptr},
                                OperationRow{{""}, QT_TRANSLATE_NOOP("BlockGraph", "attention")},
                                OperationRow{{"attn.o"}, nullptr},
                                OperationRow{{"post_attn_norm"}, nullptr}};
constexpr std::array kFeedForward{
    OperationRow{{"ffn_norm"}, nullptr}, OperationRow{{"ffn.gate", "ffn.up"}, nullptr},
    OperationRow{{""}, QT_TRANSLATE_NOOP("BlockGraph", "activation")},
    OperationRow{{"ffn.down"}, nullptr}, OperationRow{{"post_ffn_norm"}, nullptr}};

QString withoutEnding(QString name) {
    for (const char* ending : {".weight", ".bias"}) {
        if (name.endsWith(QLatin1String(ending))) {
            name.chop(static_cast<int>(qstrlen(ending)));
        }
    }
    return name;
}

/// "attn.q" for the first weight of a tensor; a fused tensor counts for all that it holds.
QStringList rolesOf(const TensorReport& tensor) {
    QStringList roles;
    for (const std::string& weight : tensor.weights) {
        const QString role = withoutEnding(tensorKind(QString::fromStdString(weight)));
        if (!roles.contains(role)) {
            roles << role;
        }
    }
    if (roles.isEmpty()) {
        roles << withoutEnding(tensorKind(QString::fromStdString(tensor.name)));
    }
    return roles;
}

int layerOfTensor(const TensorReport& tensor) {
    return layerInName(
        QString::fromStdString(tensor.weights.empty() ? tensor.name : tensor.weights.front()));
}

double valuesOf(const TensorReport& tensor) {
    double values = 1;
    for (const std::int64_t size : tensor.shape) {
        values *= static_cast<double>(size);
    }
    return values;
}

QString tensorText(const ModelReport& report, const std::vector<std::size_t>& tensors) {
    const TensorReport& first = report.tensors[tensors.front()];
    QStringList shape;
    for (const std::int64_t size : first.shape) {
        shape << QString::number(size);
    }
    return QStringLiteral("%1 · %2").arg(shape.join(QStringLiteral(" × ")),
                                         QString::fromStdString(first.dtype));
}

QString weightText(const ModelReport& report, const std::vector<std::size_t>& tensors) {
    double bytes = 0;
    for (const std::size_t tensor : tensors) {
        bytes += static_cast<double>(report.tensors[tensor].bytes);
    }
    return QString::fromStdString(formatBytes(bytes));
}

class Builder {
public:
    Builder(const ModelReport& report, const std::set<int>& open) : m_report(report), m_open(open) {
        for (std::size_t i = 0; i < report.tensors.size(); ++i) {
            m_layers[layerOfTensor(report.tensors[i])].push_back(i);
        }
    }

    BlockGraph build() {
        std::vector<std::size_t> before;
        std::vector<std::size_t> after;
        for (const std::size_t tensor : m_layers[-1]) {
            const QStringList roles = rolesOf(m_report.tensors[tensor]);
            const bool isInput = std::any_of(roles.begin(), roles.end(), [](const QString& role) {
                return role.contains(QLatin1String("emb")) || role == QLatin1String("wte") ||
                       role == QLatin1String("wpe");
            });
            (isInput ? before : after).push_back(tensor);
        }
        // A head of its own comes after the last norm, whatever the file's order.
        std::stable_sort(after.begin(), after.end(),
                         [this](std::size_t a, std::size_t b) { return isNorm(a) && !isNorm(b); });
        for (const std::size_t tensor : before) {
            addOperation({tensor}, -1);
        }
        for (const auto& [layer, tensors] : m_layers) {
            if (layer >= 0) {
                addLayer(layer, tensors);
            }
        }
        for (const std::size_t tensor : after) {
            addOperation({tensor}, -1);
        }
        m_graph.rows = m_row;
        return std::move(m_graph);
    }

private:
    bool isNorm(std::size_t tensor) const {
        return rolesOf(m_report.tensors[tensor]).front().contains(QLatin1String("norm"));
    }

    /// Adds a node below everything so far and leads the data through it.
    std::size_t addNode(BlockNode node) {
        node.row = m_row++;
        m_graph.nodes.push_back(std::move(node));
        const std::size_t at = m_graph.nodes.size() - 1;
        for (const std::size_t end : m_ends) {
            m_graph.edges.push_back({end, at, false});
        }
        m_ends = {at};
        return at;
    }

    BlockNode operation(std::vector<std::size_t> tensors, int layer) const {
        BlockNode node;
        node.title = rolesOf(m_report.tensors[tensors.front()]).join(QStringLiteral(" + "));
        node.detail = tensorText(m_report, tensors);
        node.layer = layer;
        node.tensors = std::move(tensors);
        return node;
    }

    void addOperation(std::vector<std::size_t> tensors, int layer) {
        addNode(operation(std::move(tensors), layer));
    }

    void addLayer(int layer, const std::vector<std::size_t>& tensors) {
        BlockNode block;
        block.kind = BlockNode::Kind::Block;
        block.title = QCoreApplication::translate("BlockGraph", "Layer %1").arg(layer);
        block.detail = weightText(m_report, tensors);
        block.layer = layer;
        block.foldable = true;
        block.tensors = tensors;
        const std::size_t head = addNode(block);
        if (m_open.count(layer) == 0) {
            return;
        }
        std::vector<std::size_t> left = tensors;
        std::size_t stream = addHalf(layer, kAttention, left, head);
        stream = addHalf(layer, kFeedForward, left, stream);
        // What no role is known for is shown as it stands in the file.
        while (!left.empty()) {
            const std::size_t tensor = left.front();
            left.erase(left.begin());
            addOperation({tensor}, layer);
        }
    }

    /// The tensors of a role, taken out of `left`.
    std::vector<std::size_t> take(const QString& role, std::vector<std::size_t>& left) const {
        std::vector<std::size_t> found;
        std::erase_if(left, [&](std::size_t tensor) {
            const bool ours = rolesOf(m_report.tensors[tensor]).contains(role);
            if (ours) {
                found.push_back(tensor);
            }
            return ours;
        });
        // The weight stands for its bias.
        std::stable_sort(found.begin(), found.end(), [this](std::size_t a, std::size_t b) {
            return m_report.tensors[a].shape.size() > m_report.tensors[b].shape.size();
        });
        return found;
    }

    template <std::size_t N>
    std::size_t addHalf(int layer, const std::array<OperationRow, N>& rows,
                        std::vector<std::size_t>& left, std::size_t stream) {
        bool any = false;
        for (const OperationRow& row : rows) {
            if (row.computed) {
                if (any) {
                    BlockNode node;
                    node.title = graphText(row.computed);
                    node.layer = layer;
                    addNode(std::move(node));
                }
                continue;
            }
            std::vector<BlockNode> beside;
            for (const char* role : row.roles) {
                if (role) {
                    std::vector<std::size_t> tensors = take(QLatin1String(role), left);
                    if (!tensors.empty()) {
                        beside.push_back(operation(std::move(tensors), layer));
                    }
                }
            }
            if (!beside.empty()) {
                addBeside(std::move(beside));
                any = true;
            }
        }
        if (!any) {
            return stream;
        }
        BlockNode join;
        join.kind = BlockNode::Kind::Join;
        join.title = QStringLiteral("+");
        join.layer = layer;
        const std::size_t at = addNode(std::move(join));
        m_graph.edges.push_back({stream, at, true});
        return at;
    }

    void addBeside(std::vector<BlockNode> nodes) {
        const std::vector<std::size_t> from = m_ends;
        std::vector<std::size_t> to;
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            nodes[i].row = m_row;
            nodes[i].column = static_cast<int>(i);
            nodes[i].columns = static_cast<int>(nodes.size());
            m_graph.nodes.push_back(std::move(nodes[i]));
            to.push_back(m_graph.nodes.size() - 1);
            for (const std::size_t end : from) {
                // Norms of q and k follow q and k; v passes by.
                const bool follows = from.size() == 1 || nodes.size() == 1 ||
                                     m_graph.nodes[end].column == static_cast<int>(i);
                if (follows) {
                    m_graph.edges.push_back({end, to.back(), false});
                }
            }
        }
        for (std::size_t i = nodes.size(); nodes.size() > 1 && i < from.size(); ++i) {
            to.push_back(from[i]);
        }
        m_ends = std::move(to);
        ++m_row;
    }

    const ModelReport& m_report;
    const std::set<int>& m_open;
    std::map<int, std::vector<std::size_t>> m_layers;
    BlockGraph m_graph;
    std::vector<std::size_t> m_ends;  ///< where the data is just now
    int m_row = 0;
};

bool addsUp(const QString& metric) {
    return metric == QLatin1String("bytes") || metric == QLatin1String("values") ||
           metric == QLatin1String("predicted_us");
}

bool isShare(const QString& metric) {
    return metric == QLatin1String("bits") || metric == QLatin1String("sparsity");
}

}  // namespace

std::vector<QString> BlockGraph::weights(const ModelReport& report, std::size_t node) const {
    std::vector<QString> names;
    for (const std::size_t tensor : nodes[node].tensors) {
        const TensorReport& one = report.tensors[tensor];
        for (const std::string& weight : one.weights) {
            names.push_back(QString::fromStdString(weight));
        }
        if (one.weights.empty()) {
            names.push_back(QString::fromStdString(one.name));
        }
    }
    return names;
}

BlockGraph blockGraph(const ModelReport& report, const std::set<int>& open) {
    return Builder(report, open).build();
}

void setGraphMetric(BlockGraph& graph, const ModelReport& report,
                    const std::vector<LayerMetric>& metrics, const QString& metric) {
    const std::string wanted = metric.toStdString();
    std::map<std::string, double> known;
    for (const LayerMetric& one : metrics) {
        if (one.name == wanted && std::isfinite(one.value)) {
            known[one.tensor] = one.value;
        }
    }
    const bool higherIsBetter = layerMetricHigherIsBetter(metric);
    graph.low = std::numeric_limits<double>::max();
    graph.high = std::numeric_limits<double>::lowest();
    for (BlockNode& node : graph.nodes) {
        node.value = std::numeric_limits<double>::quiet_NaN();
        node.valueOf.clear();
        double sum = 0;
        double weight = 0;
        int found = 0;
        for (const std::size_t at : node.tensors) {
            const TensorReport& tensor = report.tensors[at];
            std::vector<std::string> names = tensor.weights;
            names.push_back(tensor.name);
            for (const std::string& name : names) {
                const auto value = known.find(name);
                if (value == known.end()) {
                    continue;
                }
                ++found;
                sum += value->second * (isShare(metric) ? valuesOf(tensor) : 1);
                weight += valuesOf(tensor);
                const bool worse = higherIsBetter ? !(value->second >= node.value)
                                                  : !(value->second <= node.value);
                if (!addsUp(metric) && !isShare(metric) && worse) {
                    node.value = value->second;
                    node.valueOf = QString::fromStdString(name);
                }
                if (name == tensor.name) {
                    break;
                }
            }
        }
        // A metric of the layer as a whole, as pruning leaves it.
        const auto whole =
            node.foldable ? known.find("layers." + std::to_string(node.layer)) : known.end();
        if (whole != known.end()) {
            node.value = whole->second;
            node.valueOf.clear();
        } else if (found > 0 && addsUp(metric)) {
            node.value = sum;
        } else if (found > 0 && isShare(metric)) {
            node.value = sum / weight;
        }
        if (found < 2) {
            node.valueOf.clear();
        }
        // Norms are so small that they would leave no room on the scale for anything else.
        const bool onScale = std::any_of(
            node.tensors.begin(), node.tensors.end(),
            [&](std::size_t tensor) { return report.tensors[tensor].shape.size() > 1; });
        if (std::isfinite(node.value) && onScale) {
            graph.low = std::min(graph.low, node.value);
            graph.high = std::max(graph.high, node.value);
        }
    }
    if (graph.low > graph.high) {
        graph.low = graph.high = 0;
    }
}

}  // namespace fettle::ui
