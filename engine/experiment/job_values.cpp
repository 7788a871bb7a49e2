#include "engine/experiment/job_values.h"

#include "engine/experiment/experiment_record.h"

namespace fettle {
namespace {

/// The last part of a path, "gemma.gguf"; a trailing slash does not count.
std::string fileName(std::string path) {
    while (path.size() > 1 && path.back() == '/')
        path.pop_back();
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos || path.size() == 1 ? path : path.substr(slash + 1);
}

std::string recipeTitle(const Recipe& recipe) {
    return recipe.name.empty() ? recipeSummary(recipe) : recipe.name;
}

struct Title {
    std::string operator()(const InspectRequest& request) const {
        return "Inspect " + fileName(request.path);
    }
    std::string operator()(const HistogramRequest& request) const {
        return "Histogram of " + request.tensor + " in " + fileName(request.path);
    }
    std::string operator()(const EstimateRequest& request) const {
        return "Estimate " + recipeTitle(request.recipe) + " on " + fileName(request.modelPath);
    }
    std::string operator()(const RunRequest& request) const {
        if (request.recipe.steps.empty())
            return "Measure " + fileName(request.modelPath);
        return recipeTitle(request.recipe) + " on " + fileName(request.modelPath);
    }
    std::string operator()(const EvaluateRequest& request) const {
        return "Evaluate " + fileName(request.modelPath);
    }
    std::string operator()(const ExportRequest& request) const {
        return "Export " + fileName(request.modelPath) + " as " + request.format;
    }
    std::string operator()(const GenerateRequest& request) const {
        return "Generate with " + fileName(request.modelPath);
    }
    std::string operator()(const DraftTrialRequest& request) const {
        return "Try drafts for " + fileName(request.modelPath);
    }
};

}  // namespace

std::string jobTitle(const JobRequest& request) {
    return std::visit(Title{}, request);
}

int exitCode(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::Usage:
            return 2;
        case ErrorKind::BadInput:
        case ErrorKind::Io:
            return 3;
        case ErrorKind::Device:
        case ErrorKind::OutOfMemory:
            return 4;
        case ErrorKind::Internal:
            break;
    }
    return 1;
}

}  // namespace fettle
