#include "engine/data/data_loader.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/core/random.h"

namespace fettle {

namespace {

constexpr std::uint64_t kGroupBytes = std::uint64_t{1} << 20;
// A piece of plain text: long enough that few windows are cut short, short enough to shuffle.
constexpr std::uint64_t kPieceBytes = 16384;
constexpr std::uint64_t kPieceContexts = 64;  // bytes per token of context; about 16 windows
// Text has rarely more bytes a token; documents beyond that are not worth holding back.
constexpr double kBytesPerToken = 8;
// Streams of random numbers: one for what is held back, then two per epoch.
constexpr std::uint64_t kValidationStream = 0x76616c6964ULL;
constexpr std::uint64_t kOrderStream = 1ULL << 40;
constexpr std::uint64_t kWindowStream = 1ULL << 41;

/// Fisher & Yates.
template <typename Value>
void shuffle(std::vector<Value>& values, Philox random) {
    for (std::size_t left = values.size(); left > 1; --left)
        std::swap(values[left - 1], values[random.below(left)]);
}

const DataOptions& checked(const DataOptions& options) {
    if (options.context < 2)
        throw EngineError(ErrorKind::Usage, "the training context must be at least 2 tokens");
    if (options.batchTokens < options.context)
        throw EngineError(ErrorKind::Usage, "a batch of " + std::to_string(options.batchTokens) +
                                                " tokens does not hold one context of " +
                                                std::to_string(options.context));
    if (!(options.validationShare >= 0) || options.validationShare >= 1)
        throw EngineError(ErrorKind::Usage, "the validation share must be at least 0 and below 1");
    return options;
}

std::uint64_t pieceBytes(const DataOptions& options) {
    return std::max(kPieceBytes, kPieceContexts * static_cast<std::uint64_t>(options.context));
}

}  // namespace

DataLoader::DataLoader(std::shared_ptr<const Tokenizer> tokenizer, DataOptions options,
                       RunControl& control)
    : m_tokenizer(std::move(tokenizer)),
      m_options(checked(options)),
      m_control(control),
      m_file(m_options.path, pieceBytes(m_options), control) {
    if (m_options.validationPath.empty()) {
        holdBack();
    } else {
        m_trainDocuments.resize(static_cast<std::size_t>(m_file.count()));
        std::iota(m_trainDocuments.begin(), m_trainDocuments.end(), 0);
        const DocumentFile held(m_options.validationPath, pieceBytes(m_options), control);
        m_validationHash = held.hash();
        std::vector<std::int64_t> all(static_cast<std::size_t>(held.count()));
        std::iota(all.begin(), all.end(), 0);
        fillValidation(held, all);
    }
    current();
    m_position = {};
}

void DataLoader::holdBack() {
    std::vector<std::int64_t> order(static_cast<std::size_t>(m_file.count()));
    std::iota(order.begin(), order.end(), 0);
    shuffle(order, Philox(0, kValidationStream));
    std::size_t held = 0;
    if (m_options.validationShare > 0 && order.size() > 1) {
        const auto most = std::clamp<std::size_t>(
            static_cast<std::size_t>(
                std::lround(m_options.validationShare * static_cast<double>(order.size()))),
            1, order.size() - 1);
        double bytes = 0;
        while (held < most &&
               bytes < kBytesPerToken * static_cast<double>(m_options.validationTokens))
            bytes += static_cast<double>(m_file.bytes(order[held++]));
    }
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(held);
    fillValidation(m_file, {order.begin(), end});
    m_trainDocuments.assign(end, order.end());
    std::sort(m_trainDocuments.begin(), m_trainDocuments.end());
}

void DataLoader::fillValidation(const DocumentFile& file,
                                const std::vector<std::int64_t>& documents) {
    m_validationDocuments = static_cast<std::int64_t>(documents.size());
    std::vector<Window> windows;
    std::int64_t tokens = 0;
    for (const std::int64_t document : documents) {
        const std::size_t before = windows.size();
        appendWindows(file, document, windows);
        for (std::size_t i = before; i < windows.size(); ++i) {
            const auto size = static_cast<std::int64_t>(windows[i].size());
            if (tokens + size > m_options.validationTokens && tokens > 0)
                break;
            tokens += size;
            if (m_validation.empty() ||
                static_cast<std::int64_t>(m_validation.back().ids.size()) + size >
                    m_options.batchTokens)
                m_validation.emplace_back();
            m_validation.back().add(windows[i]);
        }
    }
}

void DataLoader::appendWindows(const DocumentFile& file, std::int64_t document,
                               std::vector<Window>& windows) const {
    std::vector<std::int32_t> ids = m_tokenizer->encode(file.text(document), false);
    if (file.separate() && m_tokenizer->eos() >= 0)
        ids.push_back(m_tokenizer->eos());
    const bool bos = m_tokenizer->addsBos() && m_tokenizer->bos() >= 0;
    const std::size_t step = static_cast<std::size_t>(m_options.context) - (bos ? 1 : 0);
    for (std::size_t at = 0; at < ids.size(); at += step) {
        Window window(bos ? 1 : 0, m_tokenizer->bos());
        window.insert(window.end(), ids.begin() + static_cast<std::ptrdiff_t>(at),
                      ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + step)));
        if (window.size() >= 2)  // a token alone teaches nothing
            windows.push_back(std::move(window));
    }
}

void DataLoader::orderEpoch(std::int64_t epoch) {
    m_order = m_trainDocuments;
    shuffle(m_order, Philox(m_options.seed, kOrderStream + static_cast<std::uint64_t>(epoch)));
    m_groupBegin.assign(1, 0);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < m_order.size(); ++i) {
        bytes += m_file.bytes(m_order[i]);
        if (bytes < kGroupBytes && i + 1 < m_order.size())
            continue;
        m_groupBegin.push_back(i + 1);
        bytes = 0;
    }
    m_orderedEpoch = epoch;
    m_loadedGroup.reset();
}

void DataLoader::loadGroup() {
    const auto group = static_cast<std::size_t>(m_position.group);
    m_windows.clear();
    for (std::size_t i = m_groupBegin[group]; i < m_groupBegin[group + 1]; ++i) {
        m_control.check();
        appendWindows(m_file, m_order[i], m_windows);
    }
    // Each group of each epoch has a stream of its own.
    const auto stream = static_cast<std::uint64_t>(m_position.epoch) << 20 |
                        static_cast<std::uint64_t>(m_position.group);
    shuffle(m_windows, Philox(m_options.seed, kWindowStream + stream));
    m_loadedGroup = m_position.group;
}

const DataLoader::Window& DataLoader::current() {
    std::int64_t emptyEpochs = 0;
    while (true) {
        if (m_orderedEpoch != m_position.epoch)
            orderEpoch(m_position.epoch);
        if (m_position.group + 1 >= static_cast<std::int64_t>(m_groupBegin.size())) {
            m_position = {m_position.epoch + 1, 0, 0};
            if (++emptyEpochs > 1)
                throwBadInput(m_options.path, "holds too little text to train on");
            continue;
        }
        if (m_loadedGroup != m_position.group)
            loadGroup();
        if (m_position.window < static_cast<std::int64_t>(m_windows.size()))
            return m_windows[static_cast<std::size_t>(m_position.window)];
        m_position = {m_position.epoch, m_position.group + 1, 0};
    }
}

TrainBatch DataLoader::next() {
    TrainBatch batch;
    while (true) {
        const Window& window = current();
        if (static_cast<std::int64_t>(batch.ids.size() + window.size()) > m_options.batchTokens)
            return batch;
        batch.add(window);
        ++m_position.window;
    }
}

void DataLoader::seek(const DataPosition& position) {
    if (position.epoch < 0 || position.group < 0 || position.window < 0)
        throw EngineError(ErrorKind::BadInput, "a training position cannot be negative");
    m_position = position;
}

std::string DataLoader::fingerprint() const {
    return m_file.hash() + "/" + m_validationHash + " context " +
           std::to_string(m_options.context) + " batch " + std::to_string(m_options.batchTokens) +
           " seed " + std::to_string(m_options.seed) + " held back " +
           std::to_string(m_validationDocuments) + "/" + std::to_string(m_options.validationTokens);
}

}  // namespace fettle
