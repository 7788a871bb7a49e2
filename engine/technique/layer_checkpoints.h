// What work that goes through a model layer by layer leaves on disk: the weights of every finished
// layer and the calibration stream behind it. The model then holds mapped views of these files, so
// that memory is that of the layer at hand; and a run that was killed goes on at the layer where it
// stopped, to the same bits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/model.h"

namespace fettle {

class LayerCheckpoints {
public:
    /// `folder` empty: nothing is kept. `key` says all that decides the result; files of another
    /// key are written over. A damaged file is said so and counts as absent.
    LayerCheckpoints(std::filesystem::path folder, std::string key, RunControl& control);

    bool active() const { return !m_folder.empty(); }
    /// Layers finished by an earlier run: [0, done()).
    std::int64_t done() const { return m_done; }
    /// Puts the finished layers' weights in `model` and appends their metrics.
    void restore(Model& model, std::vector<LayerMetric>& metrics);
    /// The stream behind the last finished layer, as save() was given it.
    const std::vector<float>& stream() const { return m_stream; }

    /// The weights of `layer` that are not those of `before` go to disk and are replaced by their
    /// mapped form; so does `stream`, which may be empty. `metrics` from number `firstMetric` on
    /// are the layer's. Throws EngineError(Io) for a full disk.
    void save(std::int64_t layer, const Model& before, Model& model,
              const std::vector<LayerMetric>& metrics, std::size_t firstMetric,
              const std::vector<float>& stream);

private:
    std::filesystem::path layerFile(std::int64_t layer) const;
    std::filesystem::path streamFile() const;
    void findDone();

    std::filesystem::path m_folder;
    std::string m_key;
    RunControl& m_control;
    std::int64_t m_done = 0;
    std::vector<float> m_stream;
};

/// Some of what decides the result of a technique on `model`: its configuration, and the first and
/// last row of every weight. Cheap on a model larger than memory.
std::string fingerprint(const Model& model);
/// The same of any text.
std::string fingerprint(const std::string& text);

}  // namespace fettle
