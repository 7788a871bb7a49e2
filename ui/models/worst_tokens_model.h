// The tokens whose prediction moved furthest from the original model, with what both models
// expected. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <vector>

#include "engine/experiment/evaluation_trace.h"

namespace fettle::ui {

class WorstTokensModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Context, Token, Divergence, Before, After, Expected, Instead, ColumnCount };
    static constexpr int kSortRole = Qt::UserRole;

    using QAbstractTableModel::QAbstractTableModel;

    void setTokens(std::vector<WorstToken> tokens);
    /// Whose predictions the tokens moved away from, where it is not the original model.
    void setReference(const QString& name);
    const WorstToken& token(int row) const { return m_tokens[static_cast<std::size_t>(row)]; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    std::vector<WorstToken> m_tokens;
    QString m_reference;
};

/// A token as one line of text: line ends and leading spaces made visible.
QString visibleToken(const std::string& text);
/// "12.3%", "<0.1%".
QString probabilityText(double probability);

}  // namespace fettle::ui
